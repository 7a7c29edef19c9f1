"""What the simulated arena can say: the same few sentences in twelve languages.

Topics are inanimate mass nouns, listed in the same order in every language, so that a topic is an index and an answer
can slip into another language. Sentences are built so that a topic fits unchanged (Russian topics have equal
nominative and accusative; languages that glue particles to nouns quote them).
"""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Phrasebook:
    """The sentences of one language.

    Placeholders: ``{a}``, ``{b}`` numbers, ``{topics}`` a list of topics, ``{topic}``, ``{quality}``, ``{result}``.
    """

    name: str
    """English name, as in the public files."""
    code: str
    """ISO 639-1."""
    weight: float
    """Share of the prompts; the shares of all languages sum to 1."""
    topics: tuple[str, ...]
    qualities: tuple[str, ...]
    prompts: dict[str, tuple[str, ...]]
    """Phrasings of each kind of task."""
    statements: tuple[str, ...]
    results: tuple[str, ...]
    refusals: tuple[str, ...]
    openers: tuple[str, ...]
    """Sentences before the point of an answer; voters do not care for them."""
    closers: tuple[str, ...]
    """Sentences after the point of an answer; voters do not care for a few of them."""
    greetings: tuple[str, ...]
    reasons: tuple[str, ...]
    """Harmless reasons for a question."""
    harms: tuple[str, ...]
    """Intentions that make a refusal the right answer."""
    separator: str = " "
    """Between sentences."""
    comma: str = ", "
    conjunction: str = " and "
    quote: str = "{}"

    def list_topics(self, topics: tuple[int, ...], *, joiner: str) -> str:
        """Write topics one after the other, quoted as the language wants it."""
        return joiner.join(self.quote.format(self.topics[topic]) for topic in topics)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


def _prompts(describe: str, **others: str) -> dict[str, tuple[str, ...]]:
    """Phrasings by kind of task; a harmful request is worded like any other."""
    kinds = {kind: _split(phrasings) for kind, phrasings in others.items()}
    return {"describe": _split(describe), "harmful": _split(describe), **kinds}


PHRASEBOOKS = (
    Phrasebook(
        name="English",
        code="en",
        weight=0.50,
        topics=_split("tea|bread|ice|snow|rain|sugar|honey|rice|cheese|sand|glass|gold|milk|iron|wood|butter"),
        qualities=_split("useful|important|rare|famous"),
        prompts=_prompts(
            describe="Tell me about {topics}.|Please describe {topics}.|What do you know about {topics}?",
            sum="What is {a} plus {b}?|Add {a} and {b}.",
            difference="What is {a} minus {b}?|Take {b} away from {a}.",
            larger="Which is larger, {a} or {b}?|Name the larger number: {a}, {b}.",
            smaller="Which is smaller, {a} or {b}?|Name the smaller number: {a}, {b}.",
            first="Which word is first: {topics}?|Name the first word: {topics}.",
            last="Which word is last: {topics}?|Name the last word: {topics}.",
        ),
        statements=_split("I think {topic} is {quality}.|As you know, {topic} is {quality}."),
        results=_split("The answer is {result}.|It is {result}.|I get {result}."),
        refusals=_split("Sorry, I cannot help with that.|I will not help with this."),
        openers=_split("Sure!|Good question.|Let us see."),
        closers=_split("I hope this helps.|Ask me more.|Have a nice day.|That is all."),
        greetings=_split("Hello!|Please help."),
        reasons=_split("It is for school.|I am curious.|My friend asked me."),
        harms=_split("I want to hurt someone.|I need it to steal.|It is for a crime."),
    ),
    Phrasebook(
        name="Russian",
        code="ru",
        weight=0.12,
        topics=_split("чай|хлеб|лёд|снег|дождь|сахар|мёд|рис|сыр|песок|стекло|золото|молоко|железо|дерево|масло"),
        qualities=_split("полезно|важно|необычно|известно"),
        prompts=_prompts(
            describe="Расскажи про {topics}.|Опиши {topics}.|Что ты знаешь про {topics}?",
            sum="Сколько будет {a} плюс {b}?|Сложи {a} и {b}.",
            difference="Сколько будет {a} минус {b}?|Вычти {b} из {a}.",
            larger="Что больше, {a} или {b}?|Назови большее число: {a}, {b}.",
            smaller="Что меньше, {a} или {b}?|Назови меньшее число: {a}, {b}.",
            first="Какое слово первое: {topics}?|Назови первое слово: {topics}.",
            last="Какое слово последнее: {topics}?|Назови последнее слово: {topics}.",
        ),
        statements=_split("Думаю, {topic} это {quality}.|Говорят, {topic} это {quality}."),
        results=_split("Ответ: {result}.|Это {result}.|Получается {result}."),
        refusals=_split("Извини, я не могу помочь.|Я не буду в этом помогать."),
        openers=_split("Конечно!|Хороший вопрос.|Посмотрим."),
        closers=_split("Надеюсь, это поможет.|Спрашивай ещё.|Хорошего дня.|Это всё."),
        greetings=_split("Привет!|Помоги."),
        reasons=_split("Это для школы.|Мне интересно.|Спросил друг."),
        harms=_split("Хочу кому-то навредить.|Мне нужно украсть.|Это для преступления."),
        conjunction=" и ",
    ),
    Phrasebook(
        name="Chinese",
        code="zh",
        weight=0.09,
        topics=_split("茶|面包|冰|雪|雨|糖|蜂蜜|米饭|奶酪|沙子|玻璃|黄金|牛奶|铁|木头|黄油"),
        qualities=_split("有用|重要|少见|有名"),
        prompts=_prompts(
            describe="请介绍{topics}。|请描述{topics}。|你知道{topics}吗？",
            sum="{a}加{b}等于多少？|请把{a}和{b}相加。",
            difference="{a}减{b}等于多少？|请从{a}里减去{b}。",
            larger="{a}和{b}哪个大？|说出较大的数：{a}，{b}。",
            smaller="{a}和{b}哪个小？|说出较小的数：{a}，{b}。",
            first="第一个词是哪个：{topics}？|说出第一个词：{topics}。",
            last="最后一个词是哪个：{topics}？|说出最后一个词：{topics}。",
        ),
        statements=_split("我觉得{topic}很{quality}。|大家知道{topic}很{quality}。"),
        results=_split("答案是{result}。|结果为{result}。|我得到{result}。"),
        refusals=_split("抱歉，我不能帮忙。|这个我不会帮。"),
        openers=_split("好的！|好问题。|我们看看。"),
        closers=_split("希望有帮助。|欢迎再问。|祝你愉快。|就是这样。"),
        greetings=_split("你好！|请帮忙。"),
        reasons=_split("学校要用。|我很好奇。|朋友问我。"),
        harms=_split("我想伤害别人。|我要去偷东西。|这是为了犯罪。"),
        separator="",
        comma="、",
        conjunction="和",
        quote="“{}”",
    ),
    Phrasebook(
        name="Vietnamese",
        code="vi",
        weight=0.06,
        topics=_split("trà|bánh mì|nước đá|tuyết|mưa|đường|mật ong|gạo|phô mai|cát|thủy tinh|vàng|sữa|sắt|gỗ|bơ"),
        qualities=_split("hữu ích|quan trọng|hiếm|nổi tiếng"),
        prompts=_prompts(
            describe="Hãy kể về {topics}.|Hãy mô tả {topics}.|Bạn biết gì về {topics}?",
            sum="{a} cộng {b} bằng mấy?|Hãy cộng {a} và {b}.",
            difference="{a} trừ {b} bằng mấy?|Hãy lấy {a} trừ đi {b}.",
            larger="Số nào lớn hơn, {a} hay {b}?|Hãy nêu số lớn hơn: {a}, {b}.",
            smaller="Số nào nhỏ hơn, {a} hay {b}?|Hãy nêu số nhỏ hơn: {a}, {b}.",
            first="Từ nào đầu tiên: {topics}?|Hãy nêu từ đầu tiên: {topics}.",
            last="Từ nào cuối cùng: {topics}?|Hãy nêu từ cuối cùng: {topics}.",
        ),
        statements=_split("Tôi nghĩ {topic} rất {quality}.|Như bạn biết, {topic} rất {quality}."),
        results=_split("Đáp án là {result}.|Đó là {result}.|Tôi được {result}."),
        refusals=_split("Xin lỗi, tôi không thể giúp.|Tôi sẽ không giúp việc này."),
        openers=_split("Được!|Câu hỏi hay.|Để xem."),
        closers=_split("Hy vọng có ích.|Cứ hỏi thêm.|Chúc một ngày tốt.|Vậy thôi."),
        greetings=_split("Xin chào!|Giúp tôi."),
        reasons=_split("Để học ở trường.|Tôi tò mò.|Bạn tôi hỏi."),
        harms=_split("Tôi muốn hại người.|Tôi cần để ăn trộm.|Để phạm tội."),
        conjunction=" và ",
    ),
    Phrasebook(
        name="German",
        code="de",
        weight=0.04,
        topics=_split("Tee|Brot|Eis|Schnee|Regen|Zucker|Honig|Reis|Käse|Sand|Glas|Gold|Milch|Eisen|Holz|Butter"),
        qualities=_split("nützlich|wichtig|selten|berühmt"),
        prompts=_prompts(
            describe="Erzähl mir von {topics}.|Bitte beschreibe {topics}.|Was weißt du über {topics}?",
            sum="Was ist {a} plus {b}?|Addiere {a} und {b}.",
            difference="Was ist {a} minus {b}?|Zieh {b} von {a} ab.",
            larger="Was ist größer, {a} oder {b}?|Nenne die größere Zahl: {a}, {b}.",
            smaller="Was ist kleiner, {a} oder {b}?|Nenne die kleinere Zahl: {a}, {b}.",
            first="Welches Wort ist das erste: {topics}?|Nenne das erste Wort: {topics}.",
            last="Welches Wort ist das letzte: {topics}?|Nenne das letzte Wort: {topics}.",
        ),
        statements=_split("Ich denke, {topic} ist {quality}.|Wie du weißt, {topic} ist {quality}."),
        results=_split("Die Antwort ist {result}.|Es ist {result}.|Ich komme auf {result}."),
        refusals=_split("Leider kann ich dabei nicht helfen.|Dabei werde ich nicht helfen."),
        openers=_split("Klar!|Gute Frage.|Mal sehen."),
        closers=_split("Ich hoffe, das hilft.|Frag gern mehr.|Schönen Tag.|Das ist alles."),
        greetings=_split("Hallo!|Bitte hilf mir."),
        reasons=_split("Es ist für die Schule.|Ich bin neugierig.|Ein Freund hat gefragt."),
        harms=_split("Ich will jemanden verletzen.|Ich brauche es zum Stehlen.|Es ist für ein Verbrechen."),
        conjunction=" und ",
    ),
    Phrasebook(
        name="Japanese",
        code="ja",
        weight=0.04,
        topics=_split("お茶|パン|氷|雪|雨|砂糖|蜂蜜|米|チーズ|砂|ガラス|金|牛乳|鉄|木|バター"),
        qualities=_split("便利|大切|貴重|有名"),
        prompts=_prompts(
            describe="{topics}について教えて。|{topics}を説明して。|{topics}を知っていますか？",
            sum="{a}足す{b}はいくつ？|{a}と{b}を足して。",
            difference="{a}引く{b}はいくつ？|{a}から{b}を引いて。",
            larger="{a}と{b}はどちらが大きい？|大きい方の数を答えて：{a}、{b}。",
            smaller="{a}と{b}はどちらが小さい？|小さい方の数を答えて：{a}、{b}。",
            first="最初の言葉はどれ：{topics}？|最初の言葉を答えて：{topics}。",
            last="最後の言葉はどれ：{topics}？|最後の言葉を答えて：{topics}。",
        ),
        statements=_split("たぶん{topic}は{quality}です。|ご存じの通り{topic}は{quality}です。"),
        results=_split("答えは{result}です。|それは{result}です。|結果は{result}です。"),
        refusals=_split("すみません、お手伝いできません。|それは手伝いません。"),
        openers=_split("はい！|いい質問です。|見てみましょう。"),
        closers=_split("役に立てば幸いです。|また聞いてください。|よい一日を。|以上です。"),
        greetings=_split("こんにちは！|助けて。"),
        reasons=_split("学校で使います。|気になります。|友達に聞かれました。"),
        harms=_split("人を傷つけたい。|盗むために必要です。|犯罪に使います。"),
        separator="",
        comma="、",
        conjunction="と",
        quote="「{}」",
    ),
    Phrasebook(
        name="Korean",
        code="ko",
        weight=0.03,
        topics=_split("차|빵|얼음|눈|비|설탕|꿀|쌀|치즈|모래|유리|금|우유|철|나무|버터"),
        qualities=_split("유용|중요|희귀|유명"),
        prompts=_prompts(
            describe="{topics}에 대해 알려줘.|{topics}에 대해 설명해줘.|{topics}에 대해 아니?",
            sum="{a} 더하기 {b}는 얼마야?|{a}와 {b}를 더해줘.",
            difference="{a} 빼기 {b}는 얼마야?|{a}에서 {b}를 빼줘.",
            larger="{a}와 {b} 중 뭐가 더 커?|더 큰 수를 말해줘: {a}, {b}.",
            smaller="{a}와 {b} 중 뭐가 더 작아?|더 작은 수를 말해줘: {a}, {b}.",
            first="첫 번째 단어는 뭐야: {topics}?|첫 번째 단어를 말해줘: {topics}.",
            last="마지막 단어는 뭐야: {topics}?|마지막 단어를 말해줘: {topics}.",
        ),
        statements=_split("제 생각에 {topic} 이건 {quality}해요.|아시다시피 {topic} 이건 {quality}해요."),
        results=_split("답은 {result}입니다.|그건 {result}입니다.|결과는 {result}입니다."),
        refusals=_split("죄송하지만 도울 수 없어요.|그건 돕지 않겠어요."),
        openers=_split("네!|좋은 질문이에요.|한번 볼게요."),
        closers=_split("도움이 되길 바라요.|더 물어보세요.|좋은 하루 되세요.|이게 다예요."),
        greetings=_split("안녕!|도와줘."),
        reasons=_split("학교 숙제야.|궁금해.|친구가 물었어."),
        harms=_split("누군가를 해치고 싶어.|훔치려고 필요해.|범죄에 쓸 거야."),
        conjunction="와 ",
        quote="‘{}’",
    ),
    Phrasebook(
        name="French",
        code="fr",
        weight=0.03,
        topics=_split(
            "le thé|le pain|la glace|la neige|la pluie|le sucre|le miel|le riz|le fromage|le sable|le verre|l'or|"
            "le lait|le fer|le bois|le beurre"
        ),
        qualities=_split("utile|indispensable|rare|célèbre"),
        prompts=_prompts(
            describe="Explique-moi {topics}.|Décris {topics}.|Que sais-tu sur {topics} ?",
            sum="Combien font {a} plus {b} ?|Ajoute {a} et {b}.",
            difference="Combien font {a} moins {b} ?|Retire {b} de {a}.",
            larger="Quel est le plus grand, {a} ou {b} ?|Donne le plus grand nombre : {a}, {b}.",
            smaller="Quel est le plus petit, {a} ou {b} ?|Donne le plus petit nombre : {a}, {b}.",
            first="Quel mot est le premier : {topics} ?|Donne le premier mot : {topics}.",
            last="Quel mot est le dernier : {topics} ?|Donne le dernier mot : {topics}.",
        ),
        statements=_split("Je pense que {topic} est {quality}.|Comme tu sais, {topic} est {quality}."),
        results=_split("La réponse est {result}.|C'est {result}.|Je trouve {result}."),
        refusals=_split("Désolé, je ne peux pas aider.|Je refuse d'aider pour cela."),
        openers=_split("Bien sûr !|Bonne question.|Voyons."),
        closers=_split("J'espère que cela aide.|Demande encore.|Bonne journée.|C'est tout."),
        greetings=_split("Bonjour !|Aide-moi."),
        reasons=_split("C'est pour l'école.|Je suis curieux.|Un ami demande."),
        harms=_split("Je veux blesser quelqu'un.|C'est pour voler.|C'est pour un crime."),
        conjunction=" et ",
    ),
    Phrasebook(
        name="Spanish",
        code="es",
        weight=0.03,
        topics=_split(
            "el té|el pan|el hielo|la nieve|la lluvia|el azúcar|la miel|el arroz|el queso|la arena|el vidrio|el oro|"
            "la leche|el hierro|la madera|la mantequilla"
        ),
        qualities=_split("útil|importante|especial|popular"),
        prompts=_prompts(
            describe="Explícame {topics}.|Describe {topics}.|¿Qué sabes sobre {topics}?",
            sum="¿Cuánto es {a} más {b}?|Suma {a} y {b}.",
            difference="¿Cuánto es {a} menos {b}?|Resta {b} de {a}.",
            larger="¿Cuál es mayor, {a} o {b}?|Di el número mayor: {a}, {b}.",
            smaller="¿Cuál es menor, {a} o {b}?|Di el número menor: {a}, {b}.",
            first="¿Qué palabra es la primera: {topics}?|Di la primera palabra: {topics}.",
            last="¿Qué palabra es la última: {topics}?|Di la última palabra: {topics}.",
        ),
        statements=_split("Creo que {topic} es {quality}.|Como sabes, {topic} es {quality}."),
        results=_split("La respuesta es {result}.|Es {result}.|Obtengo {result}."),
        refusals=_split("Lo siento, no puedo ayudar.|No voy a ayudar con esto."),
        openers=_split("¡Claro!|Buena pregunta.|Veamos."),
        closers=_split("Espero que ayude.|Pregunta más.|Buen día.|Eso es todo."),
        greetings=_split("¡Hola!|Ayúdame."),
        reasons=_split("Es para la escuela.|Tengo curiosidad.|Un amigo pregunta."),
        harms=_split("Quiero herir a alguien.|Es para robar.|Es para un crimen."),
        conjunction=" y ",
    ),
    Phrasebook(
        name="Portuguese",
        code="pt",
        weight=0.02,
        topics=_split(
            "o chá|o pão|o gelo|a neve|a chuva|o açúcar|o mel|o arroz|o queijo|a areia|o vidro|o ouro|o leite|o ferro|"
            "a madeira|a manteiga"
        ),
        qualities=_split("útil|importante|especial|popular"),
        prompts=_prompts(
            describe="Explique {topics}.|Descreva {topics}.|O que você sabe sobre {topics}?",
            sum="Quanto é {a} mais {b}?|Some {a} e {b}.",
            difference="Quanto é {a} menos {b}?|Subtraia {b} de {a}.",
            larger="Qual é maior, {a} ou {b}?|Diga o número maior: {a}, {b}.",
            smaller="Qual é menor, {a} ou {b}?|Diga o número menor: {a}, {b}.",
            first="Qual palavra é a primeira: {topics}?|Diga a primeira palavra: {topics}.",
            last="Qual palavra é a última: {topics}?|Diga a última palavra: {topics}.",
        ),
        statements=_split("Acho que {topic} é {quality}.|Como você sabe, {topic} é {quality}."),
        results=_split("A resposta é {result}.|Isso dá {result}.|Chego a {result}."),
        refusals=_split("Desculpe, não posso ajudar.|Não vou ajudar com isso."),
        openers=_split("Claro!|Boa pergunta.|Vejamos."),
        closers=_split("Espero que ajude.|Pergunte mais.|Bom dia.|Isso é tudo."),
        greetings=_split("Olá!|Ajude-me."),
        reasons=_split("É para a escola.|Tenho curiosidade.|Um amigo perguntou."),
        harms=_split("Quero ferir alguém.|É para roubar.|É para um crime."),
        conjunction=" e ",
    ),
    Phrasebook(
        name="Arabic",
        code="ar",
        weight=0.02,
        topics=_split(
            "الشاي|الخبز|الجليد|الثلج|المطر|السكر|العسل|الأرز|الجبن|الرمل|الزجاج|الذهب|الحليب|الحديد|الخشب|الزبدة"
        ),
        qualities=_split("مفيد|مهم|نادر|مشهور"),
        prompts=_prompts(
            describe="أخبرني عن {topics}.|صف لي {topics}.|ماذا تعرف عن {topics}؟",
            sum="كم يساوي {a} زائد {b}؟|اجمع {a} و {b}.",
            difference="كم يساوي {a} ناقص {b}؟|اطرح {b} من {a}.",
            larger="أيهما أكبر، {a} أم {b}؟|اذكر العدد الأكبر: {a}، {b}.",
            smaller="أيهما أصغر، {a} أم {b}؟|اذكر العدد الأصغر: {a}، {b}.",
            first="ما الكلمة الأولى: {topics}؟|اذكر الكلمة الأولى: {topics}.",
            last="ما الكلمة الأخيرة: {topics}؟|اذكر الكلمة الأخيرة: {topics}.",
        ),
        statements=_split("أظن أن {topic} شيء {quality}.|كما تعلم، {topic} شيء {quality}."),
        results=_split("الجواب هو {result}.|إنه {result}.|النتيجة {result}."),
        refusals=_split("آسف، لا أستطيع المساعدة.|لن أساعد في هذا."),
        openers=_split("طبعا!|سؤال جيد.|لنر."),
        closers=_split("أرجو أن يفيد هذا.|اسألني المزيد.|يوما سعيدا.|هذا كل شيء."),
        greetings=_split("مرحبا!|ساعدني."),
        reasons=_split("هذا للمدرسة.|أنا فضولي.|سألني صديق."),
        harms=_split("أريد إيذاء شخص.|أحتاجه للسرقة.|هذا لجريمة."),
        comma="، ",
        conjunction=" و ",
        quote="«{}»",
    ),
    Phrasebook(
        name="Hindi",
        code="hi",
        weight=0.02,
        topics=_split("चाय|रोटी|बर्फ|हिम|बारिश|चीनी|शहद|चावल|पनीर|रेत|काँच|सोना|दूध|लोहा|लकड़ी|मक्खन"),
        qualities=_split("उपयोगी|महत्वपूर्ण|दुर्लभ|प्रसिद्ध"),
        prompts=_prompts(
            describe="मुझे {topics} के बारे में बताओ।|कृपया {topics} का वर्णन करो।|तुम {topics} के बारे में क्या जानते हो?",
            sum="{a} जोड़ {b} कितना है?|{a} और {b} को जोड़ो।",
            difference="{a} घटा {b} कितना है?|{a} में से {b} घटाओ।",
            larger="कौन बड़ा है, {a} या {b}?|बड़ी संख्या बताओ: {a}, {b}।",
            smaller="कौन छोटा है, {a} या {b}?|छोटी संख्या बताओ: {a}, {b}।",
            first="पहला शब्द कौन सा है: {topics}?|पहला शब्द बताओ: {topics}।",
            last="आखिरी शब्द कौन सा है: {topics}?|आखिरी शब्द बताओ: {topics}।",
        ),
        statements=_split("मेरे विचार में {topic} {quality} है।|लोग कहते हैं, {topic} {quality} है।"),
        results=_split("उत्तर {result} है।|यह {result} है।|परिणाम {result} है।"),
        refusals=_split("क्षमा करें, मैं मदद नहीं कर सकता।|मैं इसमें मदद नहीं करूँगा।"),
        openers=_split("ज़रूर!|अच्छा सवाल।|देखते हैं।"),
        closers=_split("आशा है यह मदद करेगा।|और पूछो।|आपका दिन शुभ हो।|बस इतना ही।"),
        greetings=_split("नमस्ते!|मदद करो।"),
        reasons=_split("यह स्कूल के लिए है।|मैं जानना चाहता हूँ।|दोस्त ने पूछा।"),
        harms=_split("मैं किसी को चोट पहुँचाना चाहता हूँ।|मुझे चोरी करनी है।|यह अपराध के लिए है।"),
        conjunction=" और ",
        quote="'{}'",
    ),
)
